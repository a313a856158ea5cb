use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs somebody else's code, which may panic where it could answer: the panic becomes its message, and is not on stderr as well.
/// What `work` was changing must not be used after a panic. On a thread that unwinds already the process's hook cannot be exchanged: until
/// another has done so, the panic is on stderr too. In a program that is built to abort on panics nothing is contained, and the hook tells
/// why it ends.
///
/// # Errors
/// What the panic said.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    if !cfg!(panic = "abort") && !std::thread::panicking() {
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !QUIET.get() {
                    usual(panic);
                }
            }));
        });
    }
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it gave up without a reason").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own, where nobody has installed the hook yet: a failure would end the process of all tests.
    #[test]
    fn work_is_contained_while_its_thread_unwinds() {
        const NAME: &str = "contained::tests::work_is_contained_while_its_thread_unwinds";
        const INSIDE: &str = "EDGE_SEG_TEST_UNWINDS";
        struct Contains;
        impl Drop for Contains {
            fn drop(&mut self) {
                assert_eq!(contained(|| 7), Ok(7));
                assert_eq!(contained(|| -> u32 { panic!("no") }), Err("no".into()));
            }
        }
        if std::env::var_os(INSIDE).is_some() {
            let unwound = catch_unwind(|| {
                let _contains = Contains;
                panic!("out");
            });
            assert!(unwound.is_err());
            assert_eq!(contained(|| -> u32 { panic!("no") }), Err("no".into()));
            return;
        }
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = own.args(["--exact", NAME]).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    }
}
