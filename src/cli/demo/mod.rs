//! `mainstay demo`
