//! `mainstay status`
