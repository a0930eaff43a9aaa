//! Writes DCV files below a web server's document root.
