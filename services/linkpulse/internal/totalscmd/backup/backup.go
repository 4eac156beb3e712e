// Package backup is the file that `linkpulse totals export` writes: everything that Redis holds of an epoch, each
// partition of one moment.
//
// It is NDJSON, so that jq and grep can look into it:
//
//	{"linkpulse":"totals","version":1,"topic":"clicks","partitions":12,"epoch":1,"rule":"50000/3600000/1","at":"2026-…"}
//	{"partition":0,"next":88121,"last":"88120:9f86d081884c7d65"}      one for each partition, in order
//	{"link":"x7Kp2","count":1243,"bots":31,"at_ms":1764000000000}     its links, in order; imported, imported_bots
//	{"minute":29497333,"link":"x7Kp2","count":4}                      its minutes, in order, and in each its links
//	{"end":"totals","links":1,"minutes":1,"sha256":"…"}               SHA-256 of all bytes before this line
//
// A file that was cut or changed is refused before anything of it is used. Reading holds one partition in memory.
package backup

import (
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/deployment"
)

// Version is that of the format. Whoever changes what a reader must know raises it.
const Version = 1

// kind is what the first and the last line say that the file is.
const kind = "totals"

// Header says whose totals they are.
type Header struct {
	Topic      string
	Partitions int
	Epoch      int64
	// Rule is how they were counted, as totals.Rule prints it.
	Rule string
	// At is when the export began. Totals are true at offsets and not at times: it is for people.
	At time.Time
}

// maxLine is longer than any line of a backup.
const maxLine = 4 << 10

// maxCount is the largest count that is stored: JSON's readers and Lua know integers up to there.
const maxCount = 1 << 53

type headerLine struct {
	Kind       string    `json:"linkpulse"`
	Version    int       `json:"version"`
	Topic      string    `json:"topic"`
	Partitions int       `json:"partitions"`
	Epoch      int64     `json:"epoch"`
	Rule       string    `json:"rule"`
	At         time.Time `json:"at"`
}

type partitionLine struct {
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"`
	Last      string `json:"last,omitempty"`
}

type linkLine struct {
	Link         string `json:"link"`
	Count        int64  `json:"count"`
	Bots         int64  `json:"bots,omitempty"`
	AtMs         int64  `json:"at_ms,omitempty"`
	Imported     int64  `json:"imported,omitempty"`
	ImportedBots int64  `json:"imported_bots,omitempty"`
}

type minuteLine struct {
	Minute int64  `json:"minute"`
	Link   string `json:"link"`
	Count  int64  `json:"count"`
	Bots   int64  `json:"bots,omitempty"`
}

type endLine struct {
	Kind    string `json:"end"`
	Links   int64  `json:"links"`
	Minutes int64  `json:"minutes"`
	SHA256  string `json:"sha256"`
}

// ErrDamaged says that a file is no backup, or not the one that was written: nothing of it is to be used.
var ErrDamaged = errors.New("the backup cannot be used")

func damaged(line int64, format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrDamaged, line, fmt.Sprintf(format, args...))
}

// check returns what is wrong with a header.
func (h *headerLine) check() error {
	switch {
	case h.Kind != kind:
		return damaged(1, "it is no backup of `linkpulse totals export`")
	case h.Version != Version:
		return damaged(1, "it has version %d, this program reads version %d", h.Version, Version)
	case h.Partitions < 1 || h.Partitions > deployment.MaxPartitions || h.Epoch < 1:
		return damaged(1, "%d partitions of epoch %d", h.Partitions, h.Epoch)
	}
	return nil
}

func checkClicks(count, bots int64) error {
	if count < 0 || count > maxCount || bots < 0 || bots > count {
		return fmt.Errorf("%d clicks, %d of them bots", count, bots)
	}
	return nil
}
