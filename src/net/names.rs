//! How a static binary looks names up.

/// Has a static binary look names up in `/etc/hosts` and DNS alone, whatever `/etc/nsswitch.conf` names; to be called before any
/// other thread runs. The C library would load the modules that are named there (`myhostname`, `resolve`, `mdns4_minimal`), each with the
/// machine's own C library; of another version than the one that is linked in, that ends the process (glibc's manual, "NSS and
/// static linking"). A binary that is not static is left as it is.
pub fn without_modules() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    configure();
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code, reason = "no crate has this function")]
fn configure() {
    use std::ffi::{c_char, c_int};

    // SAFETY: the declaration of glibc's <nss.h>.
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    // SAFETY: both are texts that end with a NUL and live for ever; no other thread runs yet.
    let refused = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    debug_assert_eq!(refused, 0, "glibc knows this database");
}
