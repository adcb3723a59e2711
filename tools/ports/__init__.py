"""The Protocols behind which every outside thing stands, and the plain values that cross them.

A method either answers what it *saw* or raises; it never guesses. `None` from `observe` means "looked, and it is not
there"; a node that does not answer raises `NodeUnreachable`, because unreachable is not absent.
"""
