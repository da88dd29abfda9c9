;;; broker.el --- Run the plugins of plugin-broker  -*- lexical-binding: t; -*-

;; Copyright (c) 2026 the plugin-broker authors
;; SPDX-License-Identifier: MIT

;; Version: 0.1.0
;; URL: https://pypi.org/project/plugin-broker/
;; Package-Requires: ((emacs "27.1"))
;; Keywords: tools, processes

;; This program is free software: it comes under the MIT license, which is in
;; the file LICENSE of plugin-broker.

;;; Commentary:

;; `broker-mode', a global minor mode, starts `broker lsp' and gives you what
;; the plugins of the broker offer: their commands (`broker-run'), their tools
;; (`broker-call'), their messages and questions in the minibuffer, and how
;; they are in the mode line.  Your language servers are left alone, whether
;; they run in eglot, in lsp-mode or not at all.
;;
;;   (use-package broker
;;     :load-path ".../editors/emacs"
;;     :hook (after-init . broker-mode))
;;
;; How it is built:
;; - No question is asked while a message of the broker is being read: the
;;   answer is put off to a timer, and the conversation goes on meanwhile.
;; - A question waits until the minibuffer is free, so that nobody answers it
;;   by what they type there already.  Quitting is an answer: no.

;;; Code:

(require 'broker-documents)
(require 'cl-lib)
(require 'jsonrpc)
(require 'project)
(require 'subr-x)

(defgroup broker nil
  "The plugins of plugin-broker in Emacs."
  :group 'tools
  :prefix "broker-")

(defcustom broker-command '("broker" "lsp")
  "Program that is the broker, and its arguments."
  :type '(repeat string))

(defcustom broker-settings nil
  "What the broker asks for as the section \"broker\" of the settings, a plist.
For example (:level \"warn\" :plugins (:demo (:greeting \"Hello\"))).
Call `broker-restart' after you set it by `setq'."
  :type 'plist
  :set (lambda (symbol value)
         (set-default symbol value)
         (when (fboundp 'broker--settings-changed)
           (broker--settings-changed))))

(defcustom broker-timeout 10
  "Seconds the broker has to start, and to say what there is to run."
  :type 'number)

(defcustom broker-trace nil
  "Whether the conversation with the broker is kept, in *broker events*.
Takes effect when the broker is started."
  :type 'boolean)

(defvar broker--connection nil "The running broker, or nil.")
(defvar broker--status nil "What `broker/status' said last.")
(defvar broker--commands nil "The commands of all plugins, as `broker/commands' has them.")
(defvar broker--work nil "What goes on: an alist of tokens to (TITLE . PERCENTAGE).")
(defvar broker--questions nil "Functions that ask what the broker wants to know, in turn.")
(defvar broker--asking nil "Non-nil while the user is asked something.")

;;;; The conversation

(defclass broker--wire (jsonrpc-process-connection) ()
  "A connection whose requests may be answered later.")

(cl-defstruct (broker--later (:constructor broker--later (ask)))
  "An answer that the function ASK has to get from the user first."
  ask)

(cl-defmethod jsonrpc-connection-send :around
  ((connection broker--wire) &rest args &key id result &allow-other-keys)
  "Send ARGS over CONNECTION, unless its RESULT to the request ID is for later."
  (if (broker--later-p result)
      (broker--put-off
       (lambda ()
         (let ((answer (broker--asked (broker--later-ask result))))
           (when (jsonrpc-running-p connection)
             (jsonrpc-connection-send connection :id id :result answer)))))
    (apply #'cl-call-next-method connection args)))

(defun broker--asked (ask)
  "What the user answers to ASK; nil if they quit."
  (condition-case problem
      (funcall ask)
    (quit nil)
    (error (broker--log (error-message-string problem))
           nil)))

(defun broker--put-off (question)
  "Ask QUESTION when nothing else is asked and the minibuffer is free."
  (setq broker--questions (append broker--questions (list question)))
  (force-mode-line-update t)
  (run-at-time 0 nil #'broker--ask-next))

(defun broker--ask-next ()
  "Ask the next question, or look again soon."
  (cond ((null broker--questions))
        ((or broker--asking (active-minibuffer-window))
         (run-at-time 0.2 nil #'broker--ask-next))
        (t (let ((broker--asking t))
             (funcall (pop broker--questions)))
           (broker--ask-next))))

(defun broker--requested (_connection method params)
  "Answer the request METHOD of the broker with PARAMS."
  (pcase method
    ('window/showMessageRequest (broker--later (lambda () (broker--choose params))))
    ('broker/pick (broker--later (lambda () (broker--pick params))))
    ('broker/input (broker--later (lambda () (broker--input params))))
    ('broker/active (broker-documents-active))
    ('window/showDocument (broker-documents-show params))
    ('workspace/applyEdit (broker-documents-edit (plist-get params :edit)))
    ('workspace/configuration (broker--configuration params))
    ('workspace/workspaceFolders (vector (broker--folder)))
    ((or 'client/registerCapability 'client/unregisterCapability 'window/workDoneProgress/create) nil)
    (_ (jsonrpc-error :code -32601 :message (format "Emacs has no %s" method)))))

(defun broker--notified (_connection method params)
  "Take the notification METHOD of the broker with PARAMS."
  (pcase method
    ('window/showMessage (broker--message params))
    ('window/logMessage (broker--log (plist-get params :message)))
    ('textDocument/publishDiagnostics (broker-documents-found params))
    ('$/progress (broker--progress (plist-get params :token) (plist-get params :value)))
    ('broker/status (setq broker--status params))
    ('broker/commands (setq broker--commands (append (plist-get params :commands) nil))))
  (force-mode-line-update t))

(defun broker--tell (method params)
  "Send the notification METHOD with PARAMS, unless there is no broker."
  (when (and broker--connection (jsonrpc-running-p broker--connection))
    (jsonrpc-notify broker--connection method params)))

(defun broker--running ()
  "The connection to the broker; an error if there is none."
  (if (and broker--connection (jsonrpc-running-p broker--connection))
      broker--connection
    (user-error "The broker does not run; M-x broker-restart, and see M-x broker-log")))

;;;; Start and end

(defun broker--start ()
  "Start the broker, and open the conversation with it."
  (unless (executable-find (car broker-command))
    (user-error "There is no program %s; uv tool install plugin-broker, or set `broker-command'"
                (car broker-command)))
  (let ((connection (broker--connected)))
    (setq broker--connection connection)
    (let ((said (jsonrpc-request connection :initialize (broker--initialize) :timeout broker-timeout)))
      (jsonrpc-notify connection :initialized (make-hash-table))
      (when (plist-get (plist-get said :capabilities) :textDocumentSync)
        (broker-documents-begin #'broker--tell)))))

(defun broker--connected ()
  "A connection to a new broker."
  (let ((size (if broker-trace nil 0)))
    (apply #'make-instance 'broker--wire
           :name "broker"
           :process #'broker--process
           :request-dispatcher #'broker--requested
           :notification-dispatcher #'broker--notified
           :on-shutdown #'broker--ended
           (if (< emacs-major-version 30)
               (list :events-buffer-scrollback-size size)
             (list :events-buffer-config (list :size size :format 'full))))))

(defun broker--process ()
  "A new process of the broker."
  (make-process :name "broker" :command broker-command :connection-type 'pipe
                :coding 'utf-8-emacs-unix :noquery t
                ;; jsonrpc.el wants the buffer of this name
                :stderr (get-buffer-create "*broker stderr*")))

(defun broker--initialize ()
  "The params of `initialize'."
  (let ((folder (broker--folder)))
    `(:processId ,(emacs-pid)
      :clientInfo (:name "Emacs" :version ,emacs-version)
      :rootUri ,(plist-get folder :uri)
      :workspaceFolders [,folder]
      :initializationOptions (:broker (:status t :commands t :results t :pick t :input t :active t))
      :capabilities (:window (:workDoneProgress t :showDocument (:support t))
                     :workspace (:applyEdit t
                                 :workspaceEdit (:documentChanges t)
                                 :configuration t
                                 :workspaceFolders t)
                     :textDocument (:synchronization (:didSave t)
                                    :publishDiagnostics (:relatedInformation :json-false)
                                    :codeAction (:codeActionLiteralSupport
                                                 (:codeActionKind (:valueSet ["quickfix"]))))
                     :general (:positionEncodings ["utf-16"])))))

(defun broker--folder ()
  "The folder of the current project, or the current one, as LSP has it."
  (let* ((project (project-current))
         ;; Emacs 27 has no `project-root'
         (root (cond ((null project) default-directory)
                     ((fboundp 'project-root) (project-root project))
                     (t (car (with-no-warnings (project-roots project)))))))
    (list :uri (broker-documents-uri root) :name (file-name-nondirectory (directory-file-name root)))))

(defun broker--ended (connection)
  "Forget CONNECTION, whose process has ended."
  (when (eq connection broker--connection)
    (broker--log "The broker has ended.")
    (broker-documents-end)
    (setq broker--connection nil broker--status nil broker--commands nil broker--work nil
          broker--questions nil)
    (force-mode-line-update t)))

(defun broker--stop ()
  "End the broker, politely first."
  (when-let ((connection broker--connection))
    (when (jsonrpc-running-p connection)
      (ignore-errors (jsonrpc-request connection :shutdown nil :timeout 3))
      (ignore-errors (jsonrpc-notify connection :exit nil))
      (with-timeout (3)
        (while (jsonrpc-running-p connection)
          (accept-process-output nil 0.05))))
    (jsonrpc-shutdown connection)
    (broker--ended connection)))

(defun broker-restart ()
  "Start the broker anew."
  (interactive)
  (broker--stop)
  (broker--start))

;;;###autoload
(define-minor-mode broker-mode
  "Run the plugins of plugin-broker."
  :global t
  :lighter (:eval (broker--lighter))
  (cond (broker-mode
         (add-hook 'kill-emacs-hook #'broker--stop)
         (condition-case problem
             (broker-restart)
           (error (setq broker-mode nil)
                  (broker--stop)
                  (broker--log (error-message-string problem))
                  (message "Broker: %s" (error-message-string problem)))))
        (t (remove-hook 'kill-emacs-hook #'broker--stop)
           (broker--stop))))

;;;; What the user runs

(defvar broker-history nil "The commands and tools that were run.")

;;;###autoload
(defun broker-run (command &optional arguments)
  "Run COMMAND, which is named plugin.command, with the list ARGUMENTS.
With a prefix argument ask for the arguments, a JSON array."
  (interactive
   (let ((command (broker--complete "Run command: " (progn (broker--running) broker--commands) :title)))
     (list command (and current-prefix-arg (append (broker--read-json "Arguments" "[]") nil)))))
  (broker--execute "broker.run" command (vconcat (list command) arguments)))

;;;###autoload
(defun broker-call (tool arguments)
  "Call TOOL of a plugin with ARGUMENTS, a plist or a hash table."
  (interactive
   (let* ((found (jsonrpc-request (broker--running) :broker/list nil :timeout broker-timeout))
          (tools (append (plist-get found :tools) nil))
          (name (broker--complete "Call tool: " tools :description))
          (tool (cl-find name tools :key (lambda (each) (plist-get each :name)) :test #'equal)))
     (list name (broker--read-json "Arguments" (broker--skeleton tool)))))
  (broker--execute "broker.call" tool (vector tool (or arguments (make-hash-table)))))

(defun broker-cancel ()
  "Cancel what a plugin is at work on."
  (interactive)
  (let* ((titles (mapcar (lambda (each) (cons (cadr each) (car each))) broker--work))
         (title (if (cdr titles) (completing-read "Cancel: " titles nil t) (caar titles))))
    (unless title (user-error "Nothing goes on"))
    (broker--tell :window/workDoneProgress/cancel (list :token (cdr (assoc title titles))))))

;;;###autoload
(defun broker-fix ()
  "Fix what a plugin found at point."
  (interactive)
  (let* ((offers (jsonrpc-request (broker--running) :textDocument/codeAction
                                  (broker-documents-place) :timeout broker-timeout))
         (titles (mapcar (lambda (each) (plist-get each :title)) offers))
         (title (cond ((null titles) (user-error "No plugin offers anything here"))
                      ((cdr titles) (completing-read "Fix: " titles nil t))
                      (t (car titles))))
         (offer (cl-find title offers :key (lambda (each) (plist-get each :title)) :test #'equal))
         (command (plist-get offer :command)))
    (when (plist-get offer :edit)
      (let ((reason (plist-get (broker-documents-edit (plist-get offer :edit)) :failureReason)))
        (when reason (user-error "%s" reason))))
    (when command
      (broker--execute (plist-get command :command) title (plist-get command :arguments)))))

(defun broker-log ()
  "Show what the broker and its plugins said."
  (interactive)
  (pop-to-buffer (broker--log-buffer)))

(defun broker--execute (command title arguments)
  "Have the broker run COMMAND with ARGUMENTS, and show what comes of TITLE."
  (broker-documents-sync)
  (jsonrpc-async-request
   (broker--running) :workspace/executeCommand (list :command command :arguments arguments)
   :timeout nil
   :success-fn (lambda (result) (broker--result title result))
   :error-fn (lambda (problem)
               (let ((text (format "%s: %s" title (plist-get problem :message))))
                 (broker--log text)
                 (message "Broker: %s" text)))))

(defun broker--complete (prompt entries note)
  "Read with PROMPT the name of one of ENTRIES, shown with their member NOTE."
  (unless entries (user-error "No plugin offers any"))
  (let* ((names (mapcar (lambda (each) (plist-get each :name)) entries))
         (annotate (lambda (name)
                     (let ((entry (cl-find name entries :key (lambda (each) (plist-get each :name))
                                           :test #'equal)))
                       (concat "  " (car (split-string (or (plist-get entry note) "") "\n"))))))
         (completion-extra-properties (list :annotation-function annotate)))
    (completing-read prompt names nil t nil 'broker-history)))

(defun broker--read-json (prompt initial)
  "Read with PROMPT a JSON value, which is INITIAL at first."
  (let ((text (read-string (concat prompt " (JSON): ") initial)))
    (condition-case problem
        (json-parse-string text :object-type 'plist :null-object nil :false-object :json-false)
      (error (user-error "%s is not JSON: %s" text (error-message-string problem))))))

(defun broker--skeleton (tool)
  "A JSON object with the members that TOOL must be given."
  (let ((names (append (plist-get (plist-get tool :inputSchema) :required) nil)))
    (concat "{" (mapconcat (lambda (name) (format "%S: null" name)) names ", ") "}")))

;;;; What is shown

(defun broker--message (params)
  "Show the message of PARAMS."
  (let ((text (plist-get params :message)))
    (broker--log text)
    (message "%s" (propertize text 'face (pcase (plist-get params :type) (1 'error) (2 'warning) (_ 'default))))))

(defun broker--result (title result)
  "Show the RESULT of TITLE: a line in the echo area, more in a buffer."
  (let ((text (string-trim-right (broker--text result))))
    (cond ((string-empty-p text))
          ((and (not (string-match-p "\n" text)) (< (length text) (frame-width)))
           (message "%s" text))
          (t (with-current-buffer (get-buffer-create (format "*broker: %s*" title))
               (let ((inhibit-read-only t))
                 (erase-buffer)
                 (insert text "\n")
                 (goto-char (point-min)))
               (special-mode)
               (display-buffer (current-buffer)))))))

(defun broker--text (result)
  "RESULT of a command or a tool, as text."
  (cond ((null result) "")
        ((stringp result) result)
        ((and (consp result) (vectorp (plist-get result :content)))
         (mapconcat (lambda (each) (or (plist-get each :text) (format "(%s)" (plist-get each :type))))
                    (plist-get result :content) "\n"))
        (t (with-temp-buffer
             (insert (json-serialize result :null-object nil :false-object :json-false))
             (json-pretty-print-buffer)
             (buffer-string)))))

(defun broker--log-buffer ()
  "The buffer of the log."
  (or (get-buffer "*broker log*")
      (with-current-buffer (get-buffer-create "*broker log*")
        (special-mode)
        (current-buffer))))

(defun broker--log (text)
  "Write TEXT into the log."
  (with-current-buffer (broker--log-buffer)
    (let ((inhibit-read-only t))
      (save-excursion
        (goto-char (point-max))
        (insert (format-time-string "%T ") text "\n")))))

(defun broker--lighter ()
  "Text of the mode line about the broker."
  (let ((work (cdar broker--work))
        (text (plist-get broker--status :text)))
    (replace-regexp-in-string
     "%" "%%"                           ; a mode line has its own meaning for it
     (cond ((not broker--connection) " Broker:off")
           (broker--questions " Broker[?]") ; it waits for the minibuffer
           ((cdr work) (format " Broker[%s %d%%]" (car work) (cdr work)))
           (work (format " Broker[%s]" (car work)))
           ((member text '(nil "")) " Broker")
           (t (format " Broker[%s]" text)))
     t t)))

(defun broker--progress (token value)
  "Keep what VALUE is about: the work TOKEN."
  (let ((entry (assoc token broker--work)) (percentage (plist-get value :percentage)))
    (pcase (plist-get value :kind)
      ("begin" (push (cons token (cons (plist-get value :title) percentage)) broker--work))
      ("report" (when (and entry percentage) (setcdr (cdr entry) percentage)))
      ("end" (setq broker--work (delq entry broker--work))))))

;;;; What is asked

(defun broker--choose (params)
  "Have the user press one of the buttons of a message, PARAMS."
  (let* ((titles (mapcar (lambda (each) (plist-get each :title)) (plist-get params :actions)))
         (title (completing-read (concat (plist-get params :message) " ") titles nil t)))
    ;; an empty answer is none
    (and (member title titles) (list :title title))))

(defun broker--pick (params)
  "Have the user pick one or many of the items of PARAMS."
  (let* ((labels (mapcar (lambda (each) (plist-get each :label)) (plist-get params :items)))
         (prompt (format "%s: %s " (plist-get params :plugin) (plist-get params :title)))
         (many (eq (plist-get params :many) t))
         (taken (if many
                    (completing-read-multiple prompt labels nil t)
                  (list (completing-read prompt labels nil t))))
         (indexes (delq nil (mapcar (lambda (label) (cl-position label labels :test #'equal)) taken))))
    (and (or many indexes) (list :indexes (vconcat indexes)))))

(defun broker--input (params)
  "Have the user type what PARAMS ask for."
  (let ((prompt (format "%s: %s " (plist-get params :plugin) (plist-get params :title))))
    (list :value (if (eq (plist-get params :secret) t)
                     (read-passwd prompt)
                   (read-string prompt (plist-get params :value))))))

;;;; Settings

(defun broker--settings-changed ()
  "Tell the broker that its settings are others now."
  (broker--tell :workspace/didChangeConfiguration (list :settings (list :broker broker-settings))))

(defun broker--configuration (params)
  "The settings that PARAMS ask for."
  (vconcat (mapcar (lambda (item) (and (equal (plist-get item :section) "broker") broker-settings))
                   (plist-get params :items))))

(provide 'broker)
;;; broker.el ends here
