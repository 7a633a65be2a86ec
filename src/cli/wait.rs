//! `mainstay wait`
