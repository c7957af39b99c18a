package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// parseBase reads the base URL of an upstream, without a slash at its end; "" if
// none is given. The hint says what would be right.
func parseBase(s Setting, right string) (string, error) {
	v := s.Value()
	if v == "" {
		return "", nil
	}
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return "", s.Wrong(v, "not a URL", right)
	case u.Scheme == "" || u.Host == "" || u.Opaque != "":
		return "", s.Wrong(v, "a URL with https:// is needed", right)
	case u.User != nil:
		return "", Usage("patrol puts the token on requests itself", "%s must not hold a user or password", s.From)
	case u.RawQuery != "" || u.Fragment != "":
		return "", s.Wrong(v, "must not have a query or fragment", right)
	case !pat.HostOf(u).Private():
		return "", s.Wrong(v, "the token may only go over https://, or to this machine", right)
	}
	if err := CheckHostPort(u); err != nil {
		return "", s.Wrong(v, err.Error(), right)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u.String(), nil
}

func parseGateway(o *Options, s Setting) (err error) {
	if o.Proxy.Gateway = s.Value(); o.Proxy.Gateway != proxy.GatewayOfWorkspace {
		o.Proxy.Gateway, err = parseBase(s, "--gateway "+proxy.GatewayOfWorkspace+", or the host of a dedicated one: https://1234567890.ai-gateway.cloud.databricks.com")
	}
	return err
}

func parseCAFile(o *Options, s Setting) (err error) {
	o.CAFile = s.Value()
	o.Proxy.RootCAs, err = o.ReadCAs()
	return err
}

// ReadCAs reads whom to trust from --upstream-ca; nil is whom the system trusts.
func (o Options) ReadCAs() (*x509.CertPool, error) {
	if o.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, Usage("it is a file in PEM form, with the certificates of the authorities", "--upstream-ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, Usage("it is a file in PEM form, which begins with -----BEGIN CERTIFICATE-----",
			"--upstream-ca %s: there is no certificate in it", o.CAFile)
	}
	return pool, nil
}

func parseAllowUser(o *Options, s Setting) error { o.Guard.AllowUsers = s.Values; return nil }
func parseAllowHost(o *Options, s Setting) error { o.Guard.AllowHosts = s.Values; return nil }

func parseBool(s Setting) (bool, error) {
	b, err := strconv.ParseBool(s.Value())
	if err != nil {
		return false, s.Wrong(s.Value(), "neither true nor false", "--"+s.Flag+" or --"+s.Flag+"=false")
	}
	return b, nil
}

func parseFilter(o *Options, s Setting) error {
	if v := s.Value(); v != "on" && v != "off" {
		return s.Wrong(v, "neither on nor off", "--filter off")
	}
	o.Proxy.NoFilter = s.Value() == "off"
	return nil
}

func parseWait(o *Options, s Setting) (err error) {
	o.Proxy.Wait, err = parseNotNegative(s, "--wait 0s answers at once")
	if o.Proxy.Wait == 0 {
		o.Proxy.Wait = -1 // not at all; 0 would be the proxy's own default
	}
	return err
}

func parseReplayLimit(o *Options, s Setting) error {
	const most = 1 << 30
	n, err := strconv.Atoi(s.Value())
	if err != nil || n < 0 || n > most {
		return s.Wrong(s.Value(), "not a number of bytes from 0 to "+strconv.Itoa(most), "for example --replay-limit 16777216; 0 keeps none")
	}
	if o.Proxy.ReplayLimit = n; n == 0 {
		o.Proxy.ReplayLimit = -1 // as in parseWait
	}
	return nil
}

func parseScheduleFlag(o *Options, s Setting) error {
	schedule, err := ParseSchedule(s.Value(), time.Now())
	if err != nil {
		return s.Wrong(s.Value(), err.Error(),
			`five fields (minute hour day month weekday) as in "0 */3 * * *", or @hourly, or @every 90m`)
	}
	o.Schedule, o.CronSpec = schedule, s.Value()
	return nil
}

// parseDuration reads a duration and says in plain words what is wrong.
func parseDuration(s Setting) (time.Duration, error) {
	v := s.Value()
	d, err := time.ParseDuration(v)
	if err == nil {
		return d, nil
	}
	if _, numErr := strconv.ParseFloat(v, 64); numErr == nil {
		return 0, s.Wrong(v, "a unit is missing", "for example --"+s.Flag+" "+v+"h, or "+v+"m, or "+v+"s")
	}
	return 0, s.Wrong(v, "not a duration", "for example 4h, 90m or 1h30m")
}

func parseLifetime(o *Options, s Setting) error {
	d, err := parseDuration(s)
	switch {
	case err != nil:
		return err
	case d <= 0:
		return s.Wrong(s.Value(), "a token that never lives is of no use, and patrol mints none that lives for ever", "for example --lifetime 4h")
	case d < time.Second:
		return s.Wrong(s.Value(), "too short: the workspace counts in seconds", "for example --lifetime 4h")
	case d%time.Second != 0:
		return s.Wrong(s.Value(), "the workspace counts in whole seconds", "for example --lifetime "+d.Truncate(time.Second).String())
	}
	o.Lifetime = d
	return nil
}

func parseGrace(o *Options, s Setting) (err error) {
	o.Grace, err = parseNotNegative(s, "--grace 0s revokes a token as soon as its requests have ended")
	return err
}

// parseNotNegative reads a duration that may be 0. The hint says what that does.
func parseNotNegative(s Setting, hint string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d < 0 {
		return 0, s.Wrong(s.Value(), "can't be negative", hint)
	}
	return d, err
}

// instanceName is what may stand in the comment of a token, between slashes.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func parseInstance(o *Options, s Setting) error {
	if s.Given() && !instanceName.MatchString(s.Value()) {
		return s.Wrong(s.Value(), "not a name",
			"at most 64 letters, digits, dots, dashes and underscores, starting with a letter or digit")
	}
	o.Instance = s.Value()
	return nil
}

func parseStateDir(o *Options, s Setting) error {
	if !s.Given() {
		return nil
	}
	dir, err := filepath.Abs(s.Value())
	if err != nil {
		return s.Wrong(s.Value(), err.Error(), "give an absolute path")
	}
	o.StateDir = dir
	return nil
}

// CheckHostPort looks at what url.Parse lets through.
func CheckHostPort(u *url.URL) error {
	if !hostName.MatchString(u.Hostname()) {
		return errors.New("the name of the host isn't one")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return errors.New("the port must be a number from 1 to 65535")
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return errors.New("the port is missing after the colon")
	}
	return nil
}

// hostName matches DNS names and the two kinds of IP address.
var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]+)$`)
