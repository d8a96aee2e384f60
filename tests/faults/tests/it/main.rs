mod checker;
mod faults;
mod fuzz;
mod soak;
