"""What every process of Ringmain agrees on: topics, messages, step values, the model manifest. Needs msgspec only."""
