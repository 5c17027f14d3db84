# The queue's proofs. POINTS power cuts from seed SEED on; the same numbers give the same run.
POINTS ?= 1000000
SEED ?= 1

.PHONY: crash mutants

crash:
	POINTS=$(POINTS) SEED=$(SEED) cargo test --quiet --profile crash --test crash

mutants:
	cargo test --quiet --profile crash --features mutants --test mutants
