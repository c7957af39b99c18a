package cli

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// asGiven is for what is only understood together with other settings.
func asGiven(s Setting) (Setting, error) { return s, nil }

func parseText(s Setting) (string, error)   { return s.Value(), nil }
func parseList(s Setting) ([]string, error) { return s.Values, nil }

func (o *Options) parseCAFile(s Setting) (*x509.CertPool, error) {
	o.CAFile = s.Value()
	return o.ReadCAs()
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

func parseBool(s Setting) (bool, error) {
	b, err := strconv.ParseBool(s.Value())
	if err != nil {
		return false, s.Wrong(s.Value(), "neither true nor false", "--"+s.Flag+" or --"+s.Flag+"=false")
	}
	return b, nil
}

func parseNoFilter(s Setting) (bool, error) {
	if v := s.Value(); v != "on" && v != "off" {
		return false, s.Wrong(v, "neither on nor off", "--filter off")
	}
	return s.Value() == "off", nil
}

func parseWait(s Setting) (time.Duration, error) {
	d, err := parseNotNegative(s, "--wait 0s answers at once")
	return cmp.Or(d, -1), err // 0 would be the proxy's own default
}

func parseReplayLimit(s Setting) (int, error) { return parseBytes(s, 1<<30, "16777216") }

func parseReplayMemory(s Setting) (int, error) {
	if s.Value() == "" {
		return 0, nil // the default depends on the machine
	}
	return parseBytes(s, 1<<40, "268435456")
}

func parseBytes(s Setting, most int, example string) (int, error) {
	n, err := strconv.Atoi(s.Value())
	if err != nil || n < 0 || n > most {
		return 0, s.Wrong(s.Value(), "not a number of bytes from 0 to "+strconv.Itoa(most), "for example --"+s.Flag+" "+example+"; 0 keeps none")
	}
	return cmp.Or(n, -1), nil // as in parseWait
}

func (o *Options) parseSchedule(s Setting) (cron.Schedule, error) {
	o.CronSpec = s.Value()
	schedule, err := ParseSchedule(o.CronSpec, time.Now())
	if err != nil {
		err = s.Wrong(o.CronSpec, err.Error(), `five fields (minute hour day month weekday) as in "0 */3 * * *", or @hourly, or @every 90m`)
	}
	return schedule, err
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

func parseLifetime(s Setting) (time.Duration, error) {
	d, err := parseDuration(s)
	switch {
	case err != nil:
	case d <= 0:
		err = s.Wrong(s.Value(), "a token that never lives is of no use, and patrol mints none that lives for ever", "for example --lifetime 4h")
	case d < time.Second:
		err = s.Wrong(s.Value(), "too short: the workspace counts in seconds", "for example --lifetime 4h")
	case d%time.Second != 0:
		err = s.Wrong(s.Value(), "the workspace counts in whole seconds", "for example --lifetime "+d.Truncate(time.Second).String())
	}
	return d, err
}

func parseGrace(s Setting) (time.Duration, error) {
	return parseNotNegative(s, "--grace 0s revokes a token as soon as its requests have ended")
}

func parseOldTokens(s Setting) (time.Duration, error) {
	return parseNotNegative(s, "--old-tokens 0s lets none in that was replaced")
}

// parseNotNegative reads a duration that may be 0. The hint says what that does.
func parseNotNegative(s Setting, hint string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d < 0 {
		err = s.Wrong(s.Value(), "can't be negative", hint)
	}
	return d, err
}

// instanceName is what may stand in the comment of a token, between slashes.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func parseInstance(s Setting) (string, error) {
	if s.Given() && !instanceName.MatchString(s.Value()) {
		return "", s.Wrong(s.Value(), "not a name", "at most 64 letters, digits, dots, dashes and underscores, starting with a letter or digit")
	}
	return s.Value(), nil
}

func parseFolder(s Setting) (string, error) {
	if !s.Given() {
		return "", nil
	}
	return filepath.Abs(s.Value())
}

func parseLogLevel(s Setting) (level slog.Level, err error) {
	if level.UnmarshalText([]byte(s.Value())) != nil || strings.ContainsAny(s.Value(), "+-") {
		err = s.Wrong(s.Value(), "no such level", "use debug, info, warn or error")
	}
	return level, err
}

func parseLogFormat(s Setting) (string, error) {
	format := strings.ToLower(s.Value())
	if format != FormatText && format != FormatJSON {
		return "", s.Wrong(s.Value(), "no such format", "use text or json")
	}
	return format, nil
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

// ParseSchedule reads a spec of cron: five fields or a descriptor, in UTC unless
// it begins with CRON_TZ=Zone. A spec that doesn't fire within five years of now
// is an error.
func ParseSchedule(spec string, now time.Time) (cron.Schedule, error) {
	zone, fields := "CRON_TZ=UTC", strings.Join(strings.Fields(spec), " ")
	if strings.HasPrefix(fields, "CRON_TZ=") || strings.HasPrefix(fields, "TZ=") {
		zone, fields, _ = strings.Cut(fields, " ")
		_, name, _ := strings.Cut(zone, "=")
		if name == "" || fields == "" { // on which cron panics
			return nil, errors.New("a time zone looks like CRON_TZ=Europe/Berlin, with the schedule after it")
		}
		if _, err := time.LoadLocation(name); err != nil {
			return nil, fmt.Errorf("the time zone %s isn't known here (a small container may lack tzdata)", name)
		}
	}
	if err := checkEvery(fields); err != nil {
		return nil, err
	}
	schedule, err := cron.ParseStandard(zone + " " + fields)
	if err != nil {
		return nil, fmt.Errorf("not a schedule: %w", err)
	}
	if schedule.Next(now).IsZero() {
		return nil, errors.New("it never fires")
	}
	return schedule, nil
}

// checkEvery refuses the intervals that cron rounds to something else.
func checkEvery(fields string) error {
	interval, ok := strings.CutPrefix(fields, "@every")
	if !ok {
		return nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(interval))
	if err != nil || d < time.Second || d%time.Second != 0 {
		return errors.New("@every needs a duration such as 90m, in whole seconds")
	}
	return nil
}
