//! Streams under everything networks do to them: what arrives is what was sent, in order, whole, or visibly cut.

mod cut;
mod last_words;
mod order;
mod pace;
mod silence;
mod slow;
mod whole;
