"""How well labels can be predicted from the features of a run: features, classifiers and their scores."""
