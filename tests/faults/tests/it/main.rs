mod checker;
mod faults;
