use std::fs;

/// Checks a generated file of the repository. One that is out of date is written anew, and the
/// test fails: look at what changed, and commit it.
pub fn check_generated(path: &str, content: &str) {
    if fs::read_to_string(path).is_ok_and(|known| known == content) {
        return;
    }
    fs::write(path, content).expect("the repository can be written to");
    panic!("{path} was out of date and is written anew");
}
