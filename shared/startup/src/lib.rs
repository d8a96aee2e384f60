//! What each start of a program that needs a server is made of: the server's password, and the
//! waiting until it answers.

mod password;
mod waiting;

pub use password::Password;
pub use waiting::Waiting;
