//! The command line: args → config → cores → signal; nothing else.

fn main() {}
