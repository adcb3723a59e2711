"""Rules that planner and guard share: who may go where, when, and how long it takes."""
