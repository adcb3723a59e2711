"""The kinds of records in the journal, by subject. What is `…Intended` is written before the thing is done."""
