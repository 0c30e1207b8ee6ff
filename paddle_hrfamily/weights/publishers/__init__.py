"""What each publisher offers: addresses, and what a network must be like for the weights behind them.

Backbones and models register these tables (`registry.backbone(weights=…)`, `registry.model(weights=…)`).
"""
