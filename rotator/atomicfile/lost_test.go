package atomicfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

var (
	counter = regexp.MustCompile(`count = (\d+)`)
	token   = regexp.MustCompile(`token = .*`)
)

// rival is another program that counts in its own profile of the file, as the
// Databricks CLI would write it: read, change, write in place, no lock.
type rival struct {
	path  string
	write func(path string, content []byte) error
	count int
	lost  int // how many of its edits were gone when it read again
}

func (r *rival) edit() error {
	content, err := r.read()
	if err != nil {
		return err
	}
	r.count++
	return r.write(r.path, counter.ReplaceAll(content, fmt.Append(nil, "count = ", r.count)))
}

// read reads the file, and whether the last edit is in it.
func (r *rival) read() ([]byte, error) {
	content, err := os.ReadFile(r.path)
	if err != nil {
		return nil, err
	}
	m := counter.FindSubmatch(content)
	if m == nil {
		return nil, errors.New("the counter is gone")
	}
	if n, err := strconv.Atoi(string(m[1])); err != nil || n != r.count {
		r.lost++
	}
	return content, nil
}

func inPlace(path string, content []byte) error { return os.WriteFile(path, content, 0o600) }

func byRename(path string, content []byte) error {
	tmp := path + ".rival"
	return errors.Join(os.WriteFile(tmp, content, 0o600), os.Rename(tmp, path))
}

// collide lets both write for n rounds, close to each other, and returns how
// many edits of the rival's were lost, and how many of ours: those that it
// read before and wrote after us can't be noticed by the one who loses them.
func collide(t testing.TB, n int, write func(string, []byte) error, ours func(path string, i int) error) (theirs, mine int) {
	path := filepath.Join(t.TempDir(), ".databrickscfg")
	r := &rival{path: path, write: write}
	if err := os.WriteFile(path, []byte("[rival]\ncount = 0\n[DEFAULT]\ntoken = 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		var both sync.WaitGroup
		delay := rand.N(2 * time.Millisecond)
		both.Go(func() {
			time.Sleep(delay)
			if err := r.edit(); err != nil {
				t.Error(err)
			}
		})
		if err := ours(path, i); err != nil {
			t.Fatal(err)
		}
		both.Wait()
		before := r.lost
		if _, err := r.read(); err != nil {
			t.Fatal(err)
		}
		if r.lost > before { // counted; the next edit starts from what there is
			r.lost = before + 1
			if err := ours(path, i); err != nil {
				t.Fatal(err)
			}
			content, _ := os.ReadFile(path)
			if err := os.WriteFile(path, counter.ReplaceAll(content, fmt.Append(nil, "count = ", r.count)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if content, _, err := Read(path); err != nil {
			t.Fatal(err)
		} else if string(token.Find(content)) != fmt.Sprint("token = ", i) {
			mine++
		}
	}
	return r.lost, mine
}

// setToken puts a token into the file.
func setToken(i int) Func {
	return func(old []byte, _ bool) ([]byte, error) {
		return token.ReplaceAll(old, fmt.Append(nil, "token = ", i)), nil
	}
}

func editOurs(path string, i int) error {
	_, err := Edit(path, setToken(i))
	return err
}

// compareThenRename is what we are measured against.
func compareThenRename(path string, i int) error {
	for {
		was, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !token.Match(was) {
			continue // torn
		}
		want, err := setToken(i)(was, true)
		if err != nil {
			return err
		}
		tmp := path + ".ours"
		f, err := os.Create(tmp)
		if err != nil {
			return err
		}
		_, err = f.Write(want)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if now, err := os.ReadFile(path); err == nil && string(now) == string(was) {
			return os.Rename(tmp, path)
		}
	}
}

// BenchmarkLostEdits measures how often an edit is lost when another program
// writes the file at the same moment, per 1,000 such moments.
func BenchmarkLostEdits(b *testing.B) {
	for name, write := range map[string]func(string, []byte) error{"inPlace": inPlace, "byRename": byRename} {
		for who, ours := range map[string]func(string, int) error{"patrol": editOurs, "compareThenRename": compareThenRename} {
			b.Run(name+"/"+who, func(b *testing.B) {
				theirs, mine := collide(b, b.N, write, ours)
				b.ReportMetric(1000*float64(theirs)/float64(b.N), "theirs-lost/1000")
				b.ReportMetric(1000*float64(mine)/float64(b.N), "ours-lost/1000")
			})
		}
	}
}
