"""How a program runs: programs, states, the evaluator, chat roles, select rules, streams, batches, command line."""
