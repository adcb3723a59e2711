"""How people are asked, and where they answer."""
