"""From a data set and a backbone to a finished cache."""
