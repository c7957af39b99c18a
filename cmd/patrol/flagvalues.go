package main

import (
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"patrol/credwriter"
	"patrol/rotator/pat"
)

func parseWrite(o *options, s setting) error {
	selection, err := credwriter.ParseWrite(strings.Join(s.values, ","))
	if err != nil {
		return usageError("--write auto writes .databrickscfg, and the agents' files that exist", "%s %w", s.from, err)
	}
	o.write = selection
	return nil
}

// parseBase reads the base URL of an upstream; nil if none is given. The hint
// says what would be right.
func parseBase(s setting, right string) (*url.URL, error) {
	v := s.value()
	if v == "" {
		return nil, nil
	}
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return nil, s.wrong(v, "not a URL", right)
	case u.Scheme == "" || u.Host == "" || u.Opaque != "":
		return nil, s.wrong(v, "a URL with https:// is needed", right)
	case u.User != nil:
		return nil, usageError("patrol puts the token on requests itself", "%s must not hold a user or password", s.from)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, s.wrong(v, "must not have a query or fragment", right)
	case !pat.HostOf(u).Private():
		return nil, s.wrong(v, "the token may only go over https://, or to this machine", right)
	}
	if err := checkHostPort(u); err != nil {
		return nil, s.wrong(v, err.Error(), right)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

func parseScheduleFlag(o *options, s setting) error {
	schedule, err := parseSchedule(s.value(), time.Now())
	if err != nil {
		return s.wrong(s.value(), err.Error(),
			`five fields (minute hour day month weekday) as in "0 */3 * * *", or @hourly, or @every 90m`)
	}
	o.schedule, o.cronSpec = schedule, s.value()
	return nil
}

// parseDuration reads a duration and says in plain words what is wrong.
func parseDuration(s setting) (time.Duration, error) {
	v := s.value()
	d, err := time.ParseDuration(v)
	if err == nil {
		return d, nil
	}
	if _, numErr := strconv.ParseFloat(v, 64); numErr == nil {
		return 0, s.wrong(v, "a unit is missing", "for example --"+s.flag+" "+v+"h, or "+v+"m, or "+v+"s")
	}
	return 0, s.wrong(v, "not a duration", "for example 4h, 90m or 1h30m")
}

func parseLifetime(o *options, s setting) error {
	d, err := parseDuration(s)
	switch {
	case err != nil:
		return err
	case d <= 0:
		return s.wrong(s.value(), "a token that never lives is of no use, and patrol mints none that lives for ever", "for example --lifetime 4h")
	case d < time.Second:
		return s.wrong(s.value(), "too short: the workspace counts in seconds", "for example --lifetime 4h")
	case d%time.Second != 0:
		return s.wrong(s.value(), "the workspace counts in whole seconds", "for example --lifetime "+d.Truncate(time.Second).String())
	}
	o.lifetime = d
	return nil
}

func parseGrace(o *options, s setting) error {
	d, err := parseDuration(s)
	if err != nil {
		return err
	}
	if d < 0 {
		return s.wrong(s.value(), "can't be negative", "--grace 0s revokes a token as soon as its requests have ended")
	}
	o.grace = d
	return nil
}

// instanceName is what may stand in the comment of a token, between slashes.
var instanceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func parseInstance(o *options, s setting) error {
	if s.given() && !instanceName.MatchString(s.value()) {
		return s.wrong(s.value(), "not a name",
			"at most 64 letters, digits, dots, dashes and underscores, starting with a letter or digit")
	}
	o.instance = s.value()
	return nil
}

func parseStateDir(o *options, s setting) error {
	if !s.given() {
		return nil
	}
	dir, err := filepath.Abs(s.value())
	if err != nil {
		return s.wrong(s.value(), err.Error(), "give an absolute path")
	}
	o.stateDir = dir
	return nil
}

func parseLogLevel(o *options, s setting) error {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[strings.ToLower(s.value())]
	if !ok {
		return s.wrong(s.value(), "no such level", "use debug, info, warn or error")
	}
	o.level = level
	return nil
}

func parseLogFormat(o *options, s setting) error {
	v := strings.ToLower(s.value())
	if v != formatText && v != formatJSON {
		return s.wrong(s.value(), "no such format", "use text or json")
	}
	o.logFormat = v
	return nil
}

// checkHostPort looks at what url.Parse lets through.
func checkHostPort(u *url.URL) error {
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
