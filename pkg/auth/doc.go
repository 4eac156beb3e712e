// Package auth says who may see and write what.
//
// A credential becomes an [Identity]: somebody's name, how long it holds, and [Grants] that say which links. Whoever serves
// something asks the identity about each link, when it is asked for and again when the identity changes; nothing else in the
// system knows of tokens or keys.
//
// A [Verifier] makes identities of JSON Web Tokens (RFC 7519), which somebody else has signed. It has the keys of whoever
// may sign: from the address of a key set, from files, or a secret that both share; and it keeps them fresh, so that keys
// change without a restart. Package mint makes tokens.
//
// There is always an identity. Where authentication is off it is [Anybody], who may see everything: a forgotten check finds
// nothing to look at and fails, instead of letting everybody in.
package auth
