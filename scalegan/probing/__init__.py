"""What the features of a run tell of labels: features, classifiers and their scores."""
