;;; drive.el --- What a person does in Emacs, done in batch  -*- lexical-binding: t; -*-

;; emacs --batch -Q -L editors/emacs -l drive.el --eval '(drive COMMAND FILE)'
;; Answers to questions are lines of stdin, in the order in which the steps below ask for them.  Each step prints what
;; came of it as one line of JSON after "=> ", which the tests look at.

;;; Code:

(require 'broker)
(require 'json)

(defconst drive-patience 30 "Seconds for one thing to happen.")
(defvar drive-shown nil "All that `message' showed, the last first.")

(defun drive-message (format &rest args)
  "Keep what FORMAT and ARGS show."
  (when format
    (push (substring-no-properties (apply #'format-message format args)) drive-shown)))

(defun drive-until (condition)
  "Wait until CONDITION returns something; that."
  (let (found (end (+ (float-time) drive-patience)))
    (while (not (setq found (funcall condition)))
      (when (> (float-time) end)
        (error "Never: %S; shown: %S" condition drive-shown))
      (accept-process-output nil 0.05))
    found))

(defun drive-shown (text)
  "Wait until a message with TEXT was shown; the whole of it."
  (drive-until (lambda () (cl-find-if (lambda (each) (string-match-p (regexp-quote text) each)) drive-shown))))

(defun drive-say (step &rest facts)
  "Print the plist FACTS as what came of STEP."
  (princ (concat "=> " (json-encode (cons :step (cons step facts))) "\n")))

(defun drive-run (command shown &rest arguments)
  "Run COMMAND with ARGUMENTS until SHOWN was shown; that message."
  (setq drive-shown nil)
  (broker-run command arguments)
  (drive-shown shown))

(defun drive (command file)
  "Go through all steps with the broker COMMAND, in FILE."
  (advice-add 'message :before #'drive-message)
  (setq broker-command command)
  (find-file file)
  (broker-mode 1)
  (drive-until (lambda () broker--commands))
  (drive-until (lambda () broker--status))
  (drive-say "start" :lighter (broker--lighter) :folder (plist-get (broker--folder) :uri)
             :commands (mapcar (lambda (each) (plist-get each :name)) broker--commands))
  (drive-say "greet" :result (drive-run "demo.greet" "greeted" "Ada") :toast (drive-shown "Hello"))
  (drive-say "sure" :result (drive-run "demo.sure" "sure:"))
  (drive-say "nonsense" :result (drive-run "demo.sure" "sure:"))
  (drive-say "choose" :result (drive-run "demo.choose" "chose"))
  (drive-say "type" :result (drive-run "demo.type" "typed"))
  (drive-say "fail" :result (drive-run "demo.fail" "never works"))
  (drive-say "unknown" :result (drive-run "demo.nothing" "demo.nothing"))
  (let ((shown (drive-run "demo.open" "shown:" (expand-file-name "other.txt"))))
    (with-current-buffer (window-buffer (selected-window))
      (drive-say "open" :result shown :file (buffer-name) :line (line-number-at-pos))))
  (find-file file)
  (drive-say "insert" :result (drive-run "demo.insert" "applied:" "𝄞 inserted\n") :text (buffer-string)
             :modified (buffer-modified-p))
  (drive-say "length" :result (drive-run "demo.length" "characters") :length (buffer-size))
  (drive-find)
  (drive-run "demo.busy" "status set" "100% busy")
  (drive-until (lambda () (string-match-p "busy" (broker--lighter))))
  (drive-say "status" :lighter (broker--lighter))
  (drive-work)
  (drive-say "call" :result (progn (broker-call "demo__count" '(:to 2)) (drive-shown "counted")))
  (drive-say "consent" :result (drive-run "shy.greet" "greeted") :toast (drive-shown "Hello"))
  (drive-again)
  (drive-end))

(defun drive-again ()
  "Kill the broker, and start it again."
  (signal-process (jsonrpc--process broker--connection) 'SIGKILL)
  (drive-until (lambda () (not broker--connection)))
  (let ((lighter (broker--lighter)))
    (broker-restart)
    (drive-until (lambda () broker--commands))
    (drive-say "again" :lighter lighter :result (drive-run "demo.greet" "greeted"))))

(defun drive-find ()
  "See what a plugin found in the current buffer, and have it fixed."
  (drive-run "demo.lint" "found 1")
  (drive-until #'flymake-diagnostics)
  (let ((found (car (flymake-diagnostics))))
    (goto-char (flymake-diagnostic-beg found))
    (drive-say "lint" :text (flymake-diagnostic-text found)
               :at (buffer-substring (flymake-diagnostic-beg found) (flymake-diagnostic-end found))))
  (broker-fix)
  (let ((text (buffer-string)))
    (save-buffer)
    (drive-run "demo.lint" "found 0")
    (drive-until (lambda () (null (flymake-diagnostics))))
    (drive-say "fix" :text text))
  (broker-run "demo.heard")
  (drive-say "heard" :events (drive-until (lambda () (when-let ((buffer (get-buffer "*broker: demo.heard*")))
                                                       (with-current-buffer buffer (buffer-string)))))))

(defun drive-work ()
  "See work go on, and cancel it."
  (setq drive-shown nil)
  (broker-run "demo.work")
  (drive-until (lambda () (cddar broker--work)))
  (let ((lighter (broker--lighter)))
    (broker-cancel)
    (drive-say "work" :lighter lighter :result (drive-shown "stopped at") :left (length broker--work))))

(defun drive-end ()
  "Turn the mode off."
  (let ((process (jsonrpc--process broker--connection)))
    (broker-mode -1)
    (drive-say "end" :status (symbol-name (process-status process)) :code (process-exit-status process)
               :log (with-current-buffer "*broker log*" (buffer-string)))))

;;; drive.el ends here
