"""The stages of a trade, one file each.

A stage is a plain function: its first argument is the previous result, its other arguments are keyword-only and the narrowest
collaborators that it needs. It returns a new frozen value and raises only `TradeError`. Stages know nothing of the journal, of
states or of deadlines; `trade.py` does.
"""
