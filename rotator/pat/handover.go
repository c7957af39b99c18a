package pat

import "context"

// Handover carries a token to the proxy that will put it on requests. Who
// receives one from the channel owes its sender both signals.
type Handover struct {
	Token Token

	// Installed is closed by the receiver once no request that it accepts
	// from then on can carry an older token.
	Installed chan struct{}

	// Drained is closed by the receiver once no request that carries an older
	// token still waits for its response headers.
	Drained chan struct{}
}

// Publish hands t over on ch and returns once it is installed: no request
// accepted after that carries an older token. The channel that it returns is
// closed when the older ones are drained. It blocks until the receiver has
// answered or ctx is done; then t may or may not have been installed, and
// publishing it again is safe.
func Publish(ctx context.Context, ch chan<- Handover, t Token) (drained <-chan struct{}, err error) {
	h := Handover{Token: t, Installed: make(chan struct{}), Drained: make(chan struct{})}
	select {
	case ch <- h:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case <-h.Installed:
		return h.Drained, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
