// Package redisconn is a connection to Redis: one server, Sentinels or a Cluster, with TLS and users, made when it is needed
// and made again when it was lost. It says in a few typed reasons why Redis did not do what it was asked.
//
// What is asked is the affair of the packages above it: totals and tickets.
package redisconn
