"""The contract between all processes of Ringmain: topics, messages, step values, the model manifest. Needs msgspec only."""
