"""The HTTP front end: takes uploads in, tells where jobs stand, hands results out. It never loads a model."""
