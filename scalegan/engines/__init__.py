"""How a phase's update is made on one rank or many: micro-batches, precision, reduction, optimizers."""
