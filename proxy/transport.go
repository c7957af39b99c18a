package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// newTransport returns the way upstream. It is nobody else's, since a shared
// one could be given another proxy or other certificates.
func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: bounded((&net.Dialer{
			Timeout: 15 * time.Second,
			// A laptop's connections die without a word while it sleeps.
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3},
		}).DialContext),
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    128, // all of an agent's subagents at once, without a new handshake
		IdleConnTimeout:        55 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		// Bodies pass as they are. There is no ResponseHeaderTimeout: a model
		// may think for many minutes before its first byte.
		DisableCompression: true,
	}
}
