"""What tests share: sites, fleets, histories, models, hostile inputs, strategies."""
