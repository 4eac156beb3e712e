package click

// Count is a number of a link and where in the log it is true. Two counts of a link are ordered by (Epoch, Seq) alone,
// never by a clock.
type Count struct {
	// Epoch numbers the life of the deployment: a rebuild or a re-created topic starts a higher one.
	Epoch int64
	// Seq is the next offset of the link's partition, exclusive: Count is the fold of the records [0, Seq). 0 is before
	// any record.
	Seq int64
	// Count is how many clicks count, bots included.
	Count int64
	// Bots is how many of Count were made by known bots.
	Bots int64
}

// Newer tells whether c is true at a later place than o.
func (c Count) Newer(o Count) bool {
	return c.Epoch > o.Epoch || c.Epoch == o.Epoch && c.Seq > o.Seq
}
