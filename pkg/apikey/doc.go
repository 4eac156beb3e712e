// Package apikey is how a program that sends clicks proves to ingest who it is: with a [Key] that it sends along, or with a
// signature that it makes with a [Secret] and that is good for one body and a few minutes. The forms of both are in
// proto/openapi.yaml.
//
// Secrets are not passwords: they are made here, of 260 bits, and nobody can try them all. So a single SHA-256 is enough to
// store one by, and a request costs a sixth of a microsecond, without a cache that would have to forget what was revoked.
//
// Nothing here prints a secret: whatever has one shows its id where it is formatted, in a log or in an error. Only Reveal
// returns it, to be handed to whoever it is for.
package apikey
