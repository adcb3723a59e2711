"""What the background agent does beside looking and acting: judge what came of it, train anew, tidy up."""
