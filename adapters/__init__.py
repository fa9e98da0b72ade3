"""One adapter per framework, all behind one contract. Adapters do not read a clock."""
