package apikey

// Reason is in which way credentials are not good: what metrics are labelled with and programs branch on.
type Reason string

// The reasons.
const (
	ReasonMissing   Reason = "missing"   // there are none
	ReasonMalformed Reason = "malformed" // they cannot be read, or there are several
	ReasonKey       Reason = "key"       // no such key, or another secret
	ReasonExpired   Reason = "expired"   // the key is not good any more
	ReasonTime      Reason = "time"      // signed too long before or after now
	ReasonSignature Reason = "signature" // not by this key, or not over this body
)

// Reasons returns all reasons, to register metrics with.
func Reasons() []Reason {
	return []Reason{ReasonMissing, ReasonMalformed, ReasonKey, ReasonExpired, ReasonTime, ReasonSignature}
}

// RefusedError says why credentials are not good. Its text is for whoever sent them, and repeats nothing of them.
type RefusedError struct {
	Reason Reason
	Detail string
}

// Error returns the detail.
func (e *RefusedError) Error() string { return e.Detail }

// What is refused. Each is made once: whoever knocks on the door without a key costs no memory.
var (
	errMissing = &RefusedError{
		ReasonMissing, "this needs an API key: send Authorization: Bearer and the key, or sign the request with Linkpulse-Signature",
	}
	errSeveral = &RefusedError{
		ReasonMalformed, "the request has credentials twice: send one Authorization header or one Linkpulse-Signature",
	}
	errBearer    = &RefusedError{ReasonMalformed, "Authorization must be Bearer and a key, which begins with lpk_"}
	errForm      = &RefusedError{ReasonMalformed, "Linkpulse-Signature must be like t=1769860804,k=ID,v1=HEX: Unix seconds, the id of the key, 64 lower-case hex digits"}
	errNoKey     = &RefusedError{ReasonKey, "there is no such key, or its secret is another one"}
	errExpired   = &RefusedError{ReasonExpired, "the key has expired"}
	errTime      = &RefusedError{ReasonTime, "the signature is of a time more than 5 minutes from now; compare your clock with the Date of this answer"}
	errSignature = &RefusedError{ReasonSignature, "the signature is none of this body by this key"}
)

// ErrKey returns the refusal of a key that does not exist or has another secret.
func ErrKey() *RefusedError { return errNoKey }

// ErrExpired returns the refusal of a key that is not good any more.
func ErrExpired() *RefusedError { return errExpired }

// ErrTime returns the refusal of a signature of another time.
func ErrTime() *RefusedError { return errTime }

// ErrSignature returns the refusal of a signature that is not one of the key, or not of the body.
func ErrSignature() *RefusedError { return errSignature }
