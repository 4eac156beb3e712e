package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Writer writes a backup. It is not safe for concurrent use.
type Writer struct {
	out    *bufio.Writer
	sum    hash.Hash
	header Header

	next           int32 // the partition that is to come
	links, minutes int64
}

// NewWriter begins a backup.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	b := &Writer{out: bufio.NewWriterSize(w, 64<<10), sum: sha256.New(), header: h}
	return b, b.line(headerLine{
		Kind: kind, Version: Version, Topic: h.Topic, Partitions: h.Partitions, Epoch: h.Epoch, Rule: h.Rule, At: h.At.UTC(),
	})
}

// line writes a line that belongs to what the last one attests.
func (b *Writer) line(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	line = append(line, '\n')
	b.sum.Write(line)
	if _, err := b.out.Write(line); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	return nil
}

// Partition writes the next partition; they come in order.
func (b *Writer) Partition(d *totals.Dump) error {
	if err := b.line(partitionLine{Partition: b.next, Next: d.Next, Last: d.Last.String()}); err != nil {
		return err
	}
	b.next++
	for _, link := range slices.Sorted(maps.Keys(d.Links)) {
		t := d.Links[link]
		b.links++
		if err := b.line(linkLine{
			Link: link, Count: t.Total.Count, Bots: t.Total.Bots, AtMs: t.Total.AtMs,
			Imported: t.Imported.Count, ImportedBots: t.Imported.Bots,
		}); err != nil {
			return err
		}
	}
	for _, minute := range slices.Sorted(maps.Keys(d.Minutes)) {
		links := d.Minutes[minute]
		for _, link := range slices.Sorted(maps.Keys(links)) {
			b.minutes++
			if err := b.line(minuteLine{Minute: minute, Link: link, Count: links[link].Count, Bots: links[link].Bots}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Links is how many links were written.
func (b *Writer) Links() int64 { return b.links }

// Close writes what makes it a backup: without that a file is refused. It does not close what is written to.
func (b *Writer) Close() error {
	if int(b.next) != b.header.Partitions {
		return fmt.Errorf("writing the backup: %d of %d partitions were written", b.next, b.header.Partitions)
	}
	err := b.line(endLine{Kind: kind, Links: b.links, Minutes: b.minutes, SHA256: hex.EncodeToString(b.sum.Sum(nil))})
	if err != nil {
		return err
	}
	if err := b.out.Flush(); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	return nil
}
