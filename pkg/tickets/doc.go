// Package tickets keeps tickets in Redis: whoever has shown a token is given one, and shows it once in its place, where a
// token must not be seen. proto/REDIS.md describes the keys.
//
// A ticket is 32 random bytes and good for 30 seconds. Redis holds its SHA-256 and who it is for, and never the ticket or a
// token: who reads Redis, or a backup of it, has nothing to show. It is redeemed by one command that reads and deletes, so
// of any number that show it at once, one is let in.
package tickets
