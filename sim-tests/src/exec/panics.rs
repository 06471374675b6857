//! Collects the panics of a run, also those that a task swallows, in place of printing them.

use std::cell::RefCell;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// The panics on this thread, while it runs a scenario.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Collects the panics on this thread until it is dropped.
pub(super) struct Panics;

impl Panics {
    pub(super) fn collect() -> Panics {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = take_hook();
            set_hook(Box::new(move |panic| {
                let is_collected = PANICS.with_borrow_mut(|panics| match panics {
                    Some(panics) => {
                        panics.push(describe(panic));
                        true
                    }
                    None => false,
                });
                if !is_collected {
                    print(panic);
                }
            }));
        });
        PANICS.set(Some(Vec::new()));
        Panics
    }

    /// Returns the panics since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        PANICS
            .with_borrow_mut(|panics| panics.replace(Vec::new()))
            .unwrap_or_default()
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        PANICS.set(None);
    }
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("the message is not text");
    match panic.location() {
        Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
        None => message.into(),
    }
}
