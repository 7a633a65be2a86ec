//! Closed sets of words. One enum serves as return value, log field and metric label at once, so that the three can
//! never drift apart.

use std::fmt::Debug;

/// An enum without data whose every value has one fixed word.
pub trait Label: Copy + Eq + Debug + 'static {
    /// Every value, in declaration order.
    const ALL: &'static [Self];

    /// The word: metric label, log field and API value.
    fn as_str(self) -> &'static str;

    /// Position in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Defines a [`Label`] enum: `labels! { /// doc enum Name { /// doc Variant = "word", … } }`.
#[macro_export]
macro_rules! labels {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $crate::failover::label::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad($crate::failover::label::Label::as_str(*self))
            }
        }
    };
}
