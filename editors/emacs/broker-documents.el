;;; broker-documents.el --- Documents of Emacs, for plugins  -*- lexical-binding: t; -*-

;; Copyright (c) 2026 the plugin-broker authors
;; SPDX-License-Identifier: MIT

;; This program is free software: it comes under the MIT license, which is in
;; the file LICENSE of plugin-broker.

;;; Commentary:

;; What broker.el knows of documents: it shows and changes them for a plugin,
;; shows what a plugin found in them through Flymake, and tells the broker of
;; them, but only if the broker says that a plugin may know.
;;
;; Places are LSP's: lines from 0, columns in UTF-16.

;;; Code:

(require 'cl-lib)
(require 'flymake)
(require 'subr-x)
(require 'url-util)

;;;; Telling the broker

(defvar broker-documents--tell nil "How to tell the broker, if it wants to know: a function of METHOD and PARAMS.")
(defvar broker-documents--timer nil "What tells of changes, while Emacs is idle.")
(defvar broker-documents--found (make-hash-table :test #'equal) "The diagnostics of plugins, by URI.")
(defvar-local broker-documents--version nil "How often this buffer was told; nil: never.")
(defvar-local broker-documents--stale nil "Non-nil if this buffer changed since it was told.")

(defun broker-documents-begin (tell)
  "From now on TELL the broker of all files that are visited."
  (setq broker-documents--tell tell
        broker-documents--timer (run-with-idle-timer 0.5 t #'broker-documents-sync))
  (add-hook 'find-file-hook #'broker-documents--open)
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (broker-documents--open))))

(defun broker-documents-end ()
  "Tell nothing any more, and forget what plugins found."
  (remove-hook 'find-file-hook #'broker-documents--open)
  (when broker-documents--timer
    (cancel-timer broker-documents--timer))
  (setq broker-documents--tell nil broker-documents--timer nil)
  (dolist (uri (hash-table-keys broker-documents--found))
    (broker-documents-found (list :uri uri :diagnostics nil)))
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (broker-documents--forget))))

(defun broker-documents-sync ()
  "Tell the broker of every change it does not know yet."
  (when broker-documents--tell
    (dolist (buffer (buffer-list))
      (when (buffer-local-value 'broker-documents--stale buffer)
        (with-current-buffer buffer
          (setq broker-documents--stale nil)
          (cl-incf broker-documents--version)
          (broker-documents--say :textDocument/didChange
                                 :contentChanges (vector (list :text (broker-documents--text)))))))))

(defun broker-documents--open ()
  "Tell the broker of the file that the current buffer visits, if any."
  (when (and buffer-file-name (not broker-documents--version) (not (file-remote-p buffer-file-name)))
    (setq broker-documents--version 0 broker-documents--stale nil)
    (add-hook 'after-change-functions #'broker-documents--changed nil t)
    (add-hook 'after-save-hook #'broker-documents--saved nil t)
    (add-hook 'kill-buffer-hook #'broker-documents--close nil t)
    (funcall broker-documents--tell :textDocument/didOpen
             (list :textDocument (list :uri (broker-documents-uri buffer-file-name)
                                       :languageId (broker-documents--language)
                                       :version 0
                                       :text (broker-documents--text))))))

(defun broker-documents--changed (&rest _)
  "Remember that the broker knows an older text than that of the current buffer."
  (setq broker-documents--stale t))

(defun broker-documents--saved ()
  "Tell the broker that the current buffer was saved."
  (broker-documents-sync)
  (broker-documents--say :textDocument/didSave))

(defun broker-documents--close ()
  "Tell the broker that the current buffer is no document any more."
  (when broker-documents--tell
    (broker-documents--say :textDocument/didClose))
  (broker-documents--forget))

(defun broker-documents--forget ()
  "Take out of the current buffer what telling put into it."
  (setq broker-documents--version nil broker-documents--stale nil)
  (remove-hook 'after-change-functions #'broker-documents--changed t)
  (remove-hook 'after-save-hook #'broker-documents--saved t)
  (remove-hook 'kill-buffer-hook #'broker-documents--close t))

(defun broker-documents--say (method &rest more)
  "Tell the broker METHOD of the current buffer, and MORE."
  (funcall broker-documents--tell method
           (append (list :textDocument (list :uri (broker-documents-uri buffer-file-name)
                                             :version broker-documents--version))
                   more)))

(defun broker-documents--text ()
  "The whole text of the current buffer."
  (save-restriction
    (widen)
    (buffer-substring-no-properties (point-min) (point-max))))

(defun broker-documents--language ()
  "Name for the language of the current buffer, about as LSP has it."
  (string-remove-suffix "-mode" (symbol-name major-mode)))

;;;; What plugins found

(defun broker-documents-found (params)
  "Keep the diagnostics of PARAMS, and show them where their document is visited."
  (let* ((uri (plist-get params :uri))
         (found (append (plist-get params :diagnostics) nil))
         (buffer (and (string-prefix-p "file:///" uri) (find-buffer-visiting (broker-documents--path uri)))))
    (if found
        (puthash uri found broker-documents--found)
      (remhash uri broker-documents--found))
    (when buffer
      (with-current-buffer buffer
        (if flymake-mode
            (add-hook 'flymake-diagnostic-functions #'broker-documents--flymake nil t)
          ;; whoever has it off does not want what others find
          (setq-local flymake-diagnostic-functions '(broker-documents--flymake))
          (flymake-mode 1))
        (flymake-start)))))

(defun broker-documents--flymake (report &rest _)
  "Tell Flymake by REPORT what plugins found in the current buffer."
  (funcall report
           (mapcar (lambda (each)
                     (let ((range (plist-get each :range)))
                       (flymake-make-diagnostic
                        (current-buffer)
                        (broker-documents--position (plist-get range :start))
                        (broker-documents--position (plist-get range :end))
                        (pcase (plist-get each :severity) (1 :error) (2 :warning) (_ :note))
                        (format "%s: %s" (plist-get each :source) (plist-get each :message)))))
                   (gethash (broker-documents-uri buffer-file-name) broker-documents--found))))

(defun broker-documents-place ()
  "Where point is, as the params of a request for what can be done there."
  (unless buffer-file-name
    (user-error "This buffer visits no file"))
  (let ((place (broker-documents--place (point))))
    (list :textDocument (list :uri (broker-documents-uri buffer-file-name))
          :range (list :start place :end place)
          :context (list :diagnostics []))))

;;;; Showing, changing

(defun broker-documents-uri (path)
  "The URI of the file PATH."
  (let ((path (expand-file-name path)))
    (concat "file://" (and (not (string-prefix-p "/" path)) "/")
            (url-hexify-string path url-path-allowed-chars))))

(defun broker-documents--path (uri)
  "The path of the file that URI names; an error for any other URI."
  (unless (string-prefix-p "file:///" uri)
    (error "%s is no file" uri))
  (let ((path (decode-coding-string (url-unhex-string (substring uri 7)) 'utf-8)))
    (if (eq system-type 'windows-nt) (substring path 1) path)))

(defun broker-documents-show (params)
  "Show the document that PARAMS name; whether that was possible."
  (condition-case problem
      (let ((uri (plist-get params :uri)))
        (if (eq (plist-get params :external) t)
            (browse-url uri)
          (broker-documents--visit (broker-documents--path uri) (plist-get params :selection) (plist-get params :takeFocus)))
        '(:success t))
    (error (message "Broker: %s" (error-message-string problem))
           '(:success :json-false))))

(defun broker-documents--visit (path range focus)
  "Show the file PATH at RANGE, and go there unless FOCUS is `:json-false'."
  (let* ((buffer (find-file-noselect path))
         (window (if (eq focus :json-false) (display-buffer buffer)
                   (pop-to-buffer buffer)
                   (selected-window))))
    (when range
      (with-selected-window window
        (goto-char (broker-documents--position (plist-get range :start)))))))

(defun broker-documents-active ()
  "The file that the user works on, or nil."
  (with-current-buffer (window-buffer (or (minibuffer-selected-window) (selected-window)))
    (when buffer-file-name
      (let ((place (if (use-region-p) (cons (region-beginning) (region-end)) (cons (point) (point)))))
        (list :uri (broker-documents-uri buffer-file-name)
              :range (list :start (broker-documents--place (car place)) :end (broker-documents--place (cdr place)))
              :languageId (broker-documents--language))))))

(defun broker-documents--place (position)
  "POSITION in the current buffer as LSP has it, in UTF-16."
  (save-excursion
    (save-restriction
      (widen)
      (goto-char position)
      (list :line (1- (line-number-at-pos))
            :character (cl-loop for letter across (buffer-substring-no-properties (line-beginning-position) position)
                                sum (if (> letter #xffff) 2 1))))))

(defun broker-documents--position (place)
  "The position in the current, widened buffer of PLACE, which LSP gave in UTF-16."
  (save-excursion
    (goto-char (point-min))
    (forward-line (plist-get place :line))
    (let ((left (plist-get place :character)))
      (while (and (> left 0) (not (eolp)))
        (cl-decf left (if (> (char-after) #xffff) 2 1))
        (forward-char)))
    (point)))

(defun broker-documents-edit (edit)
  "Make EDIT, all or none of it in each document; whether that was possible."
  (condition-case problem
      (let* ((changes (or (mapcar #'broker-documents--document-change (plist-get edit :documentChanges))
                          (broker-documents--plain-changes (plist-get edit :changes)))))
        (pcase-dolist (`(,uri ,version ,edits) changes)
          (with-current-buffer (find-file-noselect (broker-documents--path uri))
            (broker-documents--check version)
            (broker-documents--apply edits)))
        '(:applied t))
    (error (list :applied :json-false :failureReason (error-message-string problem)))))

(defun broker-documents--check (version)
  "Refuse to edit the current buffer if it is not as it was at VERSION.
Without a VERSION it may be."
  (when (and version broker-documents--version
             (or broker-documents--stale (/= version broker-documents--version)))
    (error "%s has changed meanwhile" (buffer-name))))

(defun broker-documents--document-change (change)
  "The URI, the version and the edits of CHANGE."
  (when (plist-get change :kind)
    (error "Emacs does not %s files for a plugin" (plist-get change :kind)))
  (let ((document (plist-get change :textDocument)))
    (list (plist-get document :uri) (plist-get document :version) (plist-get change :edits))))

(defun broker-documents--plain-changes (pairs)
  "List the URIs and the edits of PAIRS, a plist, with no versions."
  (cl-loop for (uri edits) on pairs by #'cddr
           collect (list (substring (symbol-name uri) 1) nil edits)))

(defun broker-documents--apply (edits)
  "Make all of EDITS in the current buffer.  Their places hold before the first."
  (save-excursion
    (save-restriction
      (widen)
      (let ((marked (mapcar #'broker-documents--marked edits)))
        (atomic-change-group
          (pcase-dolist (`(,begin ,end ,text) marked)
            (delete-region begin end)
            (goto-char begin)
            (insert text)))
        (pcase-dolist (`(,begin ,end ,_) marked)
          (set-marker begin nil)
          (set-marker end nil))))))

(defun broker-documents--marked (edit)
  "The markers of the range of EDIT, and its text.
What another edit puts in at either end stays outside."
  (let* ((range (plist-get edit :range))
         (begin (broker-documents--position (plist-get range :start)))
         (end (broker-documents--position (plist-get range :end)))
         (mark (copy-marker begin t)))
    (list mark (if (= begin end) mark (copy-marker end)) (plist-get edit :newText))))

(provide 'broker-documents)
;;; broker-documents.el ends here
