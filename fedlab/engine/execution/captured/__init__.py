"""Steps that are captured once and replayed for all clients: CUDA graphs and compiled code."""
