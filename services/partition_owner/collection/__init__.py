"""Deletes what can never be named again (design section 3, rules 8, 9, 16 and 17).

`decide` holds every decision, pure; the rest does what it says: the owner's own chain and dropped objects,
and, on one owner at a time, what nobody owns.
"""
