"""One file per framework, all behind one contract. Nobody in here reads a clock."""
